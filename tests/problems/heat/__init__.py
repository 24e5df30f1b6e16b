"""A problem whose answer is a number: how warm will it be in three hours?"""
