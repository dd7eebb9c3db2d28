"""`python -m parties check`: what is wrong with a server's file and with this machine, before it
starts. Asks the code that a start uses, and changes nothing.
"""
