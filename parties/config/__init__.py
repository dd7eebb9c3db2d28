"""What the servers' files may say."""
