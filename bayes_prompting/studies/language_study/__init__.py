"""A real language model beside a known optimum."""
