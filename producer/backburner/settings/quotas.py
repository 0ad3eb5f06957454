"""Settings of quotas, which gateway and dispatcher share."""

from backburner.settings.group import SettingGroup


class QuotaSettings(SettingGroup):
    """Quotas: what tenants may take, and their shares."""

    quotas_file: str | None = None
    """TOML file of the tenants' quotas and weights, read again when it changes; nothing is limited if not set."""
