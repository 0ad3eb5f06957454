"""How Kafka clients sign in: TLS, passwords and tokens that may change while a client runs, and refusals explained."""
