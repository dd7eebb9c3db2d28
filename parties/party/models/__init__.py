"""What a party stores: shares on disk, who owns them, what is active."""
