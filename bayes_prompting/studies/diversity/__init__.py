"""The diversity study: how many sources teach a network the prior?"""
