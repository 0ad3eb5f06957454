"""From checked lines to messages that the broker has acknowledged, also after a submit was cut off."""
