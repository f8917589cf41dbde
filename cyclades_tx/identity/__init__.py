"""Who is asking: users, projects and tokens."""
