"""The method: text proxies, dense extractor, selection, visual adapter."""
