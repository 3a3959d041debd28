"""From pull request to production: what the workflows in .github/workflows ask, decide and say."""
