"""What a student does with its start: what is set up, compared and watched once a plan is applied."""
