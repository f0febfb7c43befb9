"""Answering a question: a motion gradient, the ranking that it gives, and the clips' records beside it.

No face is known here: neither HTTP nor a command line. `ask` answers straight from an index, `answer` computes what a
worker stores, `reading` reads a whole ranking. What cannot be answered is a `QuestionError`.
"""
