"""OpenAI's HTTP service in front of queue and object store. Needs the extra `gateway`."""
