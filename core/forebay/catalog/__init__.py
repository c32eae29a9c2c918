"""What is remembered: records, how their keys sort, and the transactions over them."""
