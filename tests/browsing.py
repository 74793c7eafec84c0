"""Pages in a browser without a network; the fixture is in `conftest`."""

import json
import os
import shutil

import pytest


def start():
  """Yields a Chromium that is offline, and keeps what its pages complain of.

  It is skipped where there is no Chromium, unless REQUIRE_BROWSER=1.
  """
  chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
  if not chromium or not driver:
    missing = 'needs chromium and chromedriver (Debian: chromium-driver)'
    if os.environ.get('REQUIRE_BROWSER') == '1':
      pytest.fail(f'REQUIRE_BROWSER=1: {missing}')
    pytest.skip(missing)
  from selenium import webdriver
  from selenium.webdriver.chrome import service

  options = webdriver.ChromeOptions()
  options.binary_location = chromium
  for flag in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage'):
    options.add_argument(flag)
  options.add_argument('--window-size=1280,1000')
  logs = {'browser': 'ALL', 'performance': 'ALL'}
  options.set_capability('goog:loggingPrefs', logs)
  started = webdriver.Chrome(options=options, service=service.Service(driver))
  off = {'offline': True, 'latency': 0}
  off |= {'downloadThroughput': 0, 'uploadThroughput': 0}
  started.execute_cdp_cmd('Network.enable', {})
  started.execute_cdp_cmd('Network.emulateNetworkConditions', off)
  yield started
  started.quit()


def complaints(browser):
  """Returns errors in the console, and what was asked of the network."""
  said = [x for x in browser.get_log('browser') if x['level'] == 'SEVERE']
  for entry in browser.get_log('performance'):
    message = json.loads(entry['message'])['message']
    if message['method'] == 'Network.requestWillBeSent':
      url = message['params']['request']['url']
      if not url.startswith(('file:', 'data:', 'blob:')):
        said.append(url)
  return said
