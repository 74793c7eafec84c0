"""A page in which one tosses a coin, and puts prompts before a small network.

`export` takes networks and what was tuned on them from finished runs, `shipped`
keeps them as files, and `page` writes the page, which runs them in JavaScript.
"""
