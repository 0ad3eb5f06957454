"""How much of the service a tenant and a caller may take. What the quotas are is in `backburner.quotas`."""
