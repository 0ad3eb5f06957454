"""Settings of quotas, which gateway and dispatcher share."""

from backburner.settings.group import SettingGroup


class QuotaSettings(SettingGroup):
    """Quotas: what tenants may take of the gateway, and what share of the dispatchers is theirs."""

    quotas_file: str | None = None
    """TOML file of the tenants' quotas and weights, read again when it changes; nothing is limited if not set."""
