"""Own pairs, labelled by people: what is asked, the answers on the disk, the local page, the table that comes of it."""
