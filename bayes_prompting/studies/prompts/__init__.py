"""Which prompts are best, and by whom?"""
