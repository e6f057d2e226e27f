"""A module without a workflow or an activity."""
