"""Training of learners: objectives, optimisers, schedules."""
