"""What makes the pages of the site that nobody types: tables, figures, references, the gallery."""
