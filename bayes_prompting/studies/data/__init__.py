"""How much data does a tuner need?"""
