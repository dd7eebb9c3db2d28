"""CrypTen programs on our backend and on CrypTen as published: `privedge bench crypten`."""
