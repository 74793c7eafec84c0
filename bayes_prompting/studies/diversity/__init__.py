"""How many sources make a network learn the prior?"""
