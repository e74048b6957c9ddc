"""Reports from rows: daily, performance; rendered as Markdown, HTML or JSON."""
