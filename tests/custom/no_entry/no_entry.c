/* A library that registers nothing. */
int tenon_no_entry;
