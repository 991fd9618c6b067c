"""Who decides tempo, key, form and notes before a song is rendered, and who drafts a form."""
