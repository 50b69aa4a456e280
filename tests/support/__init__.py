"""What several test files share: each module is named for what it holds; no test is in here."""
