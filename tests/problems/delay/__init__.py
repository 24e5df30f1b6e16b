"""A problem whose answer is one of three classes: how late will a flight arrive?"""
