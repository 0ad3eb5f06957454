"""In which order deliveries go to the engine: lanes, deadlines, fair shares of tenants, shared prefixes."""
