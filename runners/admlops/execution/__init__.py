"""Running models: workers as the host sees them, the schedule, deadlines and failure classes."""
