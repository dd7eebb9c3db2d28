"""A party's MPC worker: one child process that loads CrypTen and sees one share of everything."""
