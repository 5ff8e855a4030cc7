"""What the apps of the factory share. Nothing starts here: that is done when an app is served."""

from aswr import CacheManager

manager = CacheManager()

manager.schedule_periodic_refresh("/articles/", interval=30)  # in every app
