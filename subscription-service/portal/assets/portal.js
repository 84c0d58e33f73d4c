// The portal works without this file: it only saves clicks.
"use strict";
