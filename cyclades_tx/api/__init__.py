"""The dialects of OpenStack: thin views over flows."""
