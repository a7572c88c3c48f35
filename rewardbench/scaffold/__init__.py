"""A new plugin's package: ``rewardbench plugins new`` fills in the templates of this folder."""
