"""`make run`: the main job from end to end."""
