#!/bin/sh
# Chromium for the tests of pages: installed where this may be done, else said in words.
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing chromium for the tests of pages"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
    >/dev/null 2>&1 && exit 0
fi
echo "The tests of pages need Chromium, and this could not install it. Install it, such as: sudo apt-get install chromium" >&2
