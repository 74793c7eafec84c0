"""What if the prior rules the target out?"""
