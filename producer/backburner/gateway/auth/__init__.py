"""Who calls the gateway and what they may do: API keys, tokens of an OpenID issuer, and the record of what was done."""
