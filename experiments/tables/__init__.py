"""Tables of runs that somebody else made: read, cleaned by stated rules; what was not read or looks wrong is said."""
