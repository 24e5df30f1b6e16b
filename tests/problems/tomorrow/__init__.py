"""A third problem, by the rules of "make it yours": one row a day, four years; will it rain tomorrow?"""
