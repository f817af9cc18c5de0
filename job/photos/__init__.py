"""Photos: fetched, judged and decoded."""
