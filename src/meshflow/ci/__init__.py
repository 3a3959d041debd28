"""The commands of the CI/CD workflows in .github/workflows, from pull request to production."""
