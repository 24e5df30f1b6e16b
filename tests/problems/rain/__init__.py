"""A second problem, by the rules of "make it yours": will it rain in the next three hours?"""
