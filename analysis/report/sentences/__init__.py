"""What a report says in words: a file a topic, each from its tables alone."""
