"""The demo as a page in the browser: live, with a load, faults and an HPA to change."""
