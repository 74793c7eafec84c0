"""The novel study: what if the prior rules the target out?"""
