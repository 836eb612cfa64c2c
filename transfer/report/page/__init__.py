"""The page: words, tables, figures, HTML. Nothing here computes a statistic."""
