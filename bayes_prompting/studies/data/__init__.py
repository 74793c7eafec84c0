"""The data study: how much data does a tuner need?"""
