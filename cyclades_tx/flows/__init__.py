"""What a person can ask for, one file for each noun."""
